"""
The only place that speaks gRPC: foreign types and foreign errors stop here.

# Layout

- `interface`: tensors, calls and model descriptions in the façade's own types.
- `codec`: those types to and from the V2 protocol's protobuf messages; pure.
- `inspection`: what Triton tells about itself, as its HTTP endpoint writes it; pure.
- `channel`: its connection, in the clear or over TLS.
- `client`: calls to one Triton; its errors become `facade.errors` in one function.

Where there are several Tritons:

- `addresses`: where they are; `reconcile`: what they serve together.
- `ejection`, `patience`, `budget`: when one gets no calls, when another one is asked too, how often at the most; pure.
- `endpoint`, `roster`: one of them and all of them; who gets a call, who is out, who comes back.
- `attempts`, `streams`: one call at one or more endpoints; `pool`: all this behind the interface of one Triton.
- `backend`: the client alone or the pool.
"""
