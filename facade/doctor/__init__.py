"""
`triton-facade doctor`: looks at everything a façade needs, and says in words what is wrong and what to do.

    finding         what one look found, and a subject's findings together
    bounded         work that may hang, kept from holding up the rest
    machine         cores, memory, open files, disk, ports, packages
    environment     the settings: wrong ones, risky ones, misspelt ones
    repository      the model folders on disk
    tritons         each Triton: reachable, ready, what it serves, until when its certificate holds
    redis_servers   each Redis: reachable, what it does when full, what it answers to
    api_keys        the keys file
    clocks          this machine's clock beside the others'
    running_facade  a façade that runs already
    examine         all of them at once

A check never raises for what it looks at: what is broken is a finding, and the others go on. No finding holds a secret.
"""
