namespace {

const graft::RowKernels rowsKernels = {kLanes};

}  // namespace
