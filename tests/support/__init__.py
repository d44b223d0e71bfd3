"""What tests share: tiny frames, checkpoints and models. Tests import it as `support`."""

import pytest

pytest.register_assert_rewrite("support.tiny", "support.stopping")
