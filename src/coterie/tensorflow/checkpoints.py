"""Checkpoints of a TensorFlow program's variables, for the programs of ``coterie tensorflow``.

The worker that a program chooses reads all variables from the servers every few steps, and keeps them
in its node's folder (`coterie.tensorflow.variables_file`). TensorFlow's own savers let servers write
files, which no party of a shared cluster may do.
"""

from __future__ import annotations

import tensorflow as tf
from typing_extensions import override

from coterie.errors import CheckpointDamaged
from coterie.tensorflow.variables_file import Value, own_file

_v1 = tf.compat.v1


class CheckpointHook(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
    """Keeps all global variables every few steps and at the end; make it once the graph is whole.

    Args:
        steps: Global steps between checkpoints.

    Attributes:
        restored_step: Global step of the checkpoint that was found; None: there was none.

    Raises:
        EnvironmentUnfit: The process is no node, or has no folder.
        CheckpointDamaged: A checkpoint is there but cannot be used.
    """

    def __init__(self, steps: int) -> None:
        self._file = own_file()
        self._steps = steps
        self._global_step = _v1.train.get_global_step()
        self._variables = {variable.op.name: variable for variable in _v1.global_variables()}
        self._values = {name: variable.read_value() for name, variable in self._variables.items()}
        self._kept = -1
        self._given = self._file.read()
        self.restored_step: int | None = None
        if self._given is not None:
            self._check()
            self._inputs = {
                name: _v1.placeholder(variable.dtype.base_dtype, variable.shape)
                for name, variable in self._variables.items()
            }
            self._restore = tf.group(
                [
                    _v1.assign(variable, self._inputs[name], validate_shape=False).op
                    for name, variable in self._variables.items()
                ]
            )
            self._kept = self.restored_step = int(self._given[self._global_step.op.name])

    def initial(self, otherwise: tf.Operation) -> tuple[tf.Operation, dict[tf.Tensor, Value]]:
        """The operation that initializes the variables, and its feeds: from the checkpoint if there is one.

        Args:
            otherwise: What initializes them without a checkpoint.
        """
        if self._given is None:
            return otherwise, {}
        return self._restore, {self._inputs[name]: value for name, value in self._given.items()}

    @override
    def before_run(self, run_context: object) -> tf.compat.v1.train.SessionRunArgs:
        return _v1.train.SessionRunArgs(self._global_step)

    @override
    def after_run(
        self,
        run_context: tf.compat.v1.train.SessionRunContext,
        run_values: tf.compat.v1.train.SessionRunValues,
    ) -> None:
        if run_values.results >= max(self._kept, 0) + self._steps:
            self._keep(run_context.session)

    @override
    def end(self, session: tf.compat.v1.Session) -> None:
        self._keep(session)

    def _keep(self, session: tf.compat.v1.Session) -> None:
        values = session.run(self._values)
        step = int(values[self._global_step.op.name])
        if step != self._kept:
            self._file.write(values)
            self._kept = step

    def _check(self) -> None:
        assert self._given is not None
        for name, variable in self._variables.items():
            value = self._given.get(name)
            expected = (tuple(variable.shape.as_list()), variable.dtype.base_dtype.as_numpy_dtype)
            seen = None if value is None else (value.shape, value.dtype.type)
            if seen != expected or len(self._given) != len(self._variables):
                raise CheckpointDamaged(
                    f"the checkpoint of this node is of another program: variable {name}",
                    expected=_said(*expected),
                    seen="none" if seen is None else _said(*seen),
                    remedy="give the node another --out folder, or the arguments of the earlier run",
                )


def _said(shape: tuple[int, ...], kind: type) -> str:
    return f"{kind.__name__} {list(shape)}"
