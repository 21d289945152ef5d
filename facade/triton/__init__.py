"""
The only place that speaks gRPC: foreign types and foreign errors stop here.

# Layout

- `interface`: tensors, calls and model descriptions in the façade's own types.
- `codec`: those types to and from the V2 protocol's protobuf messages; pure.
- `client`: one channel to one Triton; its errors become `facade.errors` in one function.
"""
