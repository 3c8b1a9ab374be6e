"""MIDI from a port, as it comes. A process of its own has the port: a MIDI server that dies, or a driver that crashes,
takes nothing with it, and no Python runs in a thread that a driver calls. Needs python-rtmidi: the extra midi.
"""
