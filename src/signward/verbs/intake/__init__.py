"""The gate for what others deliver: taken out of their reach, judged, moved, vouched for.

::

    delivery -> copies in a folder of ours -> judged by a policy -> accepted | quarantined -> receipt
"""
