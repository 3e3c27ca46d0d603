"""A detector's service: frames come in, verdicts go out, and the chip keeps learning.

Four processes (``service.py`` starts them, and again where one dies): a receiver holds what the
detector sends in a bounded ring (``receiver.py``), a worker judges it (``worker.py``), a learner
teaches a twin chip what labels say (``learner.py``), and a page shows it (``page.py``). They share
sockets that only this user can open, and files that are whole or not there; none waits for another
that is dead.
"""
