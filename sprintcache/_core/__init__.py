"""Parts of the compiled core; sprintcache._reader includes them."""
