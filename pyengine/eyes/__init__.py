"""What watches an engine: the page that `pyengine run --web` serves, and the text of `pyengine top`.

The page is served by a process of its own. It maps the shared segment for reading only, and takes levels, output
and settings from there; the rest (patches, slots, the log) the engine's loop tells it (feed.py). What the page sends
goes to the engine as OSC, like anybody's. So nothing that a browser does runs beside the audio or in the engine's
process.
"""
