"""What a person may say about a session: for the verbs that take it and the source that reads it.

Imports nothing, for every verb imports this.
"""

RATINGS = range(1, 6)
TAG_LIMIT = 64
