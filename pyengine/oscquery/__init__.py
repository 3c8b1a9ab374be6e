"""OSCQuery for tools: an HTTP server that describes every parameter of the playing patch, and streams values.

Served by a process of its own, which talks OSC with the engine over a socket pair, like any client over TCP. So nothing
that a tool does runs beside the audio or in the engine's process.
"""
