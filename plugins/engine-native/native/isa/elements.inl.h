namespace {

const graft::ElementKernels elementsKernels = {kLanes};

}  // namespace
