"""A simulated MES: a shop that makes sheet metal parts, and tells what happens in it.

    python -m scripts.mes --seconds 60

What the MES itself knows (work orders, material, quality) goes to HookMQ by REST, what the machines of the
cells know (operations) by MQTT. `shop` makes it up, `sending` sends it.
"""
