"""A guided tour: the push model beside the pull models, from a running server.

events.py   what is shown: a line on the wire, what lies on disk, a heading, a remark
wire.py     a line client that records each line it says and hears
scenes.py   the story
show.py     events → terminal, plain text or JSON
"""
