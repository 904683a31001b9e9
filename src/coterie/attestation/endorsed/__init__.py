"""Launch endorsements: a firmware publisher's signed statements about the launch measurements of guests."""
