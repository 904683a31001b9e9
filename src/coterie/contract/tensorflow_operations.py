"""TensorFlow's operations that reach nothing but tensors, variables, accumulators and queues.

A worker of another party may run these on a parameter server if the contract lists them. None opens
a file, a connection or a process, runs Python, loads code, prints, or waits for time to pass. None calls
a function: TensorFlow's master puts functions' bodies in place, so graphs come without.
"""

from __future__ import annotations

_NAMES = """
    _HostRecv _HostSend _Recv _Send
    Const Fill Identity IdentityN NoOp OnesLike Placeholder PlaceholderWithDefault PreventGradient StopGradient ZerosLike
    Abs Add AddN AddV2 BiasAdd BiasAddGrad Cast Cumsum Div DivNoNan Exp Expm1 FloorDiv FloorMod Inv Log Log1p
    MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Max Maximum Mean Min Minimum Mul MulNoNan Neg Pow Prod RealDiv Reciprocal
    Relu Relu6 ReluGrad Round Rsqrt RsqrtGrad Sigmoid SigmoidGrad Sign Softplus SoftplusGrad Sqrt SqrtGrad Square
    SquaredDifference Sub Sum Tanh TanhGrad TruncateDiv Xdivy Xlogy ClipByValue L2Loss
    All Any Equal Greater GreaterEqual IsFinite IsInf IsNan Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual Select SelectV2 Where
    ArgMax ArgMin BroadcastArgs BroadcastGradientArgs BroadcastTo Concat ConcatV2 ConcatOffset ExpandDims Gather GatherNd GatherV2
    InvertPermutation OneHot Pack Pad PadV2 Range Rank Reshape ReverseV2 ScatterNd Shape ShapeN Size Slice Split SplitV Squeeze
    StridedSlice StridedSliceGrad Tile Transpose Unique UniqueV2 Unpack DynamicPartition DynamicStitch ParallelDynamicStitch
    SegmentSum SparseSegmentSum UnsortedSegmentSum UnsortedSegmentMax TopKV2
    Enter Exit LoopCond Merge NextIteration RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSwitch Switch
    RandomStandardNormal RandomUniform RandomUniformInt TruncatedNormal
    StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformV2 StatelessTruncatedNormal
    StatelessTruncatedNormalV2 StatelessRandomGetKeyCounter StatelessRandomGetAlg
    Variable VariableV2 IsVariableInitialized Assign AssignAdd AssignSub ScatterAdd ScatterSub ScatterUpdate
    VarHandleOp VarIsInitializedOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp VariableShape
    DestroyResourceOp ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterSub ResourceScatterUpdate
    ApplyAdagrad ApplyAdagradV2 ApplyAdam ApplyFtrl ApplyFtrlV2 ApplyGradientDescent ApplyMomentum ApplyRMSProp
    SparseApplyAdagrad SparseApplyAdagradV2 SparseApplyFtrl SparseApplyFtrlV2 SparseApplyMomentum SparseApplyRMSProp
    ResourceApplyAdagrad ResourceApplyAdagradV2 ResourceApplyAdam ResourceApplyFtrl ResourceApplyFtrlV2
    ResourceApplyGradientDescent ResourceApplyKerasMomentum ResourceApplyMomentum ResourceApplyRMSProp
    ResourceSparseApplyAdagrad ResourceSparseApplyAdagradV2 ResourceSparseApplyFtrl ResourceSparseApplyFtrlV2
    ResourceSparseApplyKerasMomentum ResourceSparseApplyMomentum ResourceSparseApplyRMSProp
    ConditionalAccumulator ResourceConditionalAccumulator SparseConditionalAccumulator
    AccumulatorApplyGradient AccumulatorNumAccumulated AccumulatorSetGlobalStep AccumulatorTakeGradient
    ResourceAccumulatorApplyGradient ResourceAccumulatorNumAccumulated ResourceAccumulatorSetGlobalStep
    ResourceAccumulatorTakeGradient SparseAccumulatorApplyGradient SparseAccumulatorTakeGradient
    FIFOQueue FIFOQueueV2 QueueClose QueueCloseV2 QueueDequeue QueueDequeueV2 QueueDequeueMany QueueDequeueManyV2
    QueueEnqueue QueueEnqueueV2 QueueEnqueueMany QueueEnqueueManyV2 QueueIsClosed QueueIsClosedV2 QueueSize QueueSizeV2
    """
HARMLESS = frozenset(_NAMES.split())
