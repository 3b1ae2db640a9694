"""What daskhpc knows of other packages beyond their public names: one module per package, or per large part of one.

Every private name and every patch of a foreign package stands here, behind a function that shows what it is for. If a
release no longer has the name, the function does without it or raises an error that names the package's release.
``tests/compat`` has a test for each of these functions: it fails when a new release changes what the function needs.
"""
