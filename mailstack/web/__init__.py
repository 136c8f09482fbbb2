"""What is served by HTTP. A site is made once a port (`site.py`) and carries resources of several parts."""
