"""The gate for what others deliver: taken out of their reach, judged, moved, vouched for.

::

    delivery -> copies of ours -> judged by a policy -> receipt -> accepted or quarantined
"""
