"""Teaches schemathesis the one content type of ours that it does not know."""
import schemathesis


@schemathesis.serializer("application/sdp")
def sdp(_context, value):
    """Texts as they are; anything else as its representation, which is no SDP either."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
