"""Teaches schemathesis the content types of ours that it does not know."""
import schemathesis


def text(_context, value):
    """Texts as they are; anything else as its representation, which is no SDP either."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


for content_type in ["application/sdp", "application/trickle-ice-sdpfrag"]:
    schemathesis.serializer(content_type)(text)
