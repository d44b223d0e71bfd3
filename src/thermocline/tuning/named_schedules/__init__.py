"""Schedules that other libraries and papers are known for, each written as phases."""
