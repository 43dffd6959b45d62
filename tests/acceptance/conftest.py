"""The helpers' assertions say as much as a test's own."""

import pytest

pytest.register_assert_rewrite("tests.acceptance.js", "tests.acceptance.scene")
