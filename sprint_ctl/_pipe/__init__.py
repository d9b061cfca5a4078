"""Code that both ends of the pipe share: framing, array payloads, shared memory."""
