namespace {

const graft::AttentionKernels attentionKernels = {kLanes};

}  // namespace
