"""Systems room: receiver, sharer, C2C and everything that it is compared with."""
