"""The machine: loads programs as native code and runs each guest process in a Store of its own.

Implements `kernel.kernel.Executor`. One machine serves one kernel at a time; it may be built, and
programs loaded into it, before a fork (the zygote), and used in the child.

How a guest ended is kept on its own thread's state by whoever ended it (a host call, the epoch) and
taken from there after the code has unwound; the engine's error only tells *that* it ended. Stack
overflow, `unreachable`, division by zero, an access out of bounds and a refused memory growth are
the guest's own business.

Lock order: `_lock` (programs) is not held while compiling or running.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from balenawasm.engine.accelerator import load as load_accelerator
from balenawasm.engine.callbacks import Guest, running
from balenawasm.engine.configuration import MEMORY_RESERVATION, new_engine
from balenawasm.engine.interrupter import Interrupter, on_pass
from balenawasm.engine.library import (
    EXTERN_FUNC,
    EXTERN_MEMORY,
    EngineError,
    Instance,
    Memory,
    api,
    export_of,
    take_error,
)
from balenawasm.engine.linker import FormTables, Linker, Tables
from balenawasm.engine.program_file import CANNOT_EXECUTE
from balenawasm.engine.thread_stack import check_stack
from balenawasm.engine.traps import printable, summary, take_trap
from balenawasm.errors import BalenaWasmError
from balenawasm.kernel.outcome import Exited, Killed, Outcome, Signaled, Trapped
from balenawasm.kernel.session import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.engine.accelerator import FastProcess
    from balenawasm.engine.code_cache import CodeCache
    from balenawasm.engine.compiler import Progress
    from balenawasm.engine.memory_budget import MemoryBudget
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.node import Content

_PROGRAMS_MAX: Final = 32
_TABLE_ELEMENTS_MAX: Final = 1 << 20
_TABLES_MAX: Final = 8
"""Tables lie outside the linear memory and its limit: 8 bytes an element, 64 MiB at the most."""
_NO_LIMIT: Final = -1


class Program:
    """Native code in memory, its imports resolved. Freed with the last reference, also while guests
    still run it.
    """

    __slots__ = ("_module", "instance_pre")

    def __init__(self, module: int, instance_pre: int) -> None:
        self._module = module
        self.instance_pre = instance_pre

    def __del__(self) -> None:
        api.wasmtime_instance_pre_delete(self.instance_pre)
        api.wasmtime_module_delete(self._module)


class Machine:
    """Runs programs. `tables` are the personalities' system calls by import module."""

    def __init__(
        self,
        code_cache: CodeCache,
        tables: Tables,
        forms: FormTables | None = None,
        *,
        accelerated: bool = True,
    ) -> None:
        """`accelerated`: use the C accelerator where there is one."""
        self.log: Callable[[str], None] = _silent
        """Takes lines about guests that trapped or could not start, for the container's log; set it
        after a fork.
        """
        self._cache = code_cache
        self._engine = new_engine()
        self._accelerator = load_accelerator() if accelerated else None
        self._linker = Linker(self._engine, tables, forms or {}, self._accelerator)
        self._interrupter = Interrupter(self._engine)
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._lock = threading.Lock()
        self._budget: MemoryBudget | None = None

    def precompile(
        self, content: Content, *, name: str = "the program", progress: Progress | None = None
    ) -> None:
        """Make sure that native code exists and that every import is provided; the errors of
        `load`.
        """
        # An image chose the name, and it is going to be shown.
        self.load(content, name=printable(name), progress=progress)

    def load(
        self, content: Content, *, name: str = "the program", progress: Progress | None = None
    ) -> Program:
        """A program ready to be instantiated, from memory where possible.

        Raises NotAProgramError, InvalidModuleError, MissingImportsError, and EngineError for
        trouble of the host.
        """
        key = content.identity or self._cache.module_of(content, name=name)
        with self._lock:
            program = self._programs.get(key)
            if program is not None:
                self._programs.move_to_end(key)
                return program
        program = self._load(content, name, progress)
        with self._lock:
            program = self._programs.setdefault(key, program)
            while len(self._programs) > _PROGRAMS_MAX:
                self._programs.popitem(last=False)
        return program

    def _load(self, content: Content, name: str, progress: Progress | None) -> Program:
        module = ctypes.c_size_t()
        for _attempt in ("cached", "compiled anew"):
            path = self._cache.compiled(content, progress, name=name)
            error = api.wasmtime_module_deserialize_file(
                self._engine, bytes(path), ctypes.byref(module)
            )
            if not error:
                break
            reason = summary(take_error(error))
            self._cache.discard(path)
        else:
            raise EngineError(f"the engine refuses its own native code for {name}: {reason}")
        try:
            return Program(module.value, self._linker.link(module.value, name))
        except BaseException:
            api.wasmtime_module_delete(module.value)
            raise

    def run(self, process: Process, content: Content) -> None:
        """Run a process's program in this thread until it ends, and those that it puts in its place
        (execve); then `process.finish` it. Never raises on a guest's account.
        """
        current.process = process
        following = [content]
        del content  # once it is loaded nobody shall keep it
        accelerator = self._accelerator
        fast = accelerator.enter(process) if accelerator is not None else None
        try:
            while following:
                current.outcome = current.replacement = None
                following = self._run_program(process, following, fast)
        finally:
            self._interrupter.forget(process)
            if accelerator is not None:
                accelerator.leave(process)
            del current.process

    def _run_program(
        self, process: Process, contents: list[Content], fast: FastProcess | None
    ) -> list[Content]:
        """Run the program in `contents`, which is taken out; answers the one that takes its place,
        or none at the process's end.
        """
        name = printable(process.argv[0].decode("utf-8", "replace"))
        try:
            check_stack()
            program = self.load(
                contents.pop(), name=name, progress=lambda _: process.check_killed()
            )
        except Killed:
            process.finish(process.outcome_of_kill())
            return []
        except BalenaWasmError as error:
            self.log(f"{error.message} ({error.hint})" if error.hint else error.message)
            process.finish(Exited(CANNOT_EXECUTE))
            return []
        store = api.wasmtime_store_new(self._engine, 0, 0)
        try:
            outcome = self._execute(program, store, process, fast)
            if current.replacement is not None:
                if process.killed_by is None:
                    return [current.replacement]
                outcome = process.outcome_of_kill()
            if self._budget is not None:
                self._budget.leave(process)
            if isinstance(outcome, Trapped):
                self.log(f"{name} (pid {process.pid}): {outcome.message}")
            _finish(process, outcome)
        finally:
            running.guest = None
            process.unbind_memory()
            if fast is not None:
                fast.unbind()
            if self._budget is not None:
                self._budget.leave(process)
            api.wasmtime_store_delete(store)
        return []

    def memory_sizes(self) -> dict[Process, int]:
        """Bytes of linear memory of each guest, where the container's memory is limited."""
        return {} if self._budget is None else self._budget.sizes()

    def hold(self, until_ns: int) -> None:
        """Have guests that compute sleep until that time (time.monotonic_ns): see `engine.hold`."""
        from balenawasm.engine import hold  # noqa: PLC0415 - only for a limit of processor time

        hold.until(until_ns)
        self._interrupter.pass_epoch()

    def _shared_memory(self, limit: int) -> MemoryBudget:
        with self._lock:
            if self._budget is None or self._budget.limit != limit:
                from balenawasm.engine.memory_budget import (  # noqa: PLC0415 - not every start's
                    MemoryBudget,
                )

                self._budget = MemoryBudget(
                    limit,
                    limit_store=_limit_store,
                    pass_epoch=self._interrupter.pass_epoch,
                    log=self.log,
                )
                on_pass.append(self._budget.renew)
            return self._budget

    def _execute(
        self, program: Program, store: int, process: Process, fast: FastProcess | None
    ) -> Outcome:
        context = api.wasmtime_store_context(store)
        limit = process.limits.memory_bytes
        if limit is None:
            _limit_store(store, MEMORY_RESERVATION)
        else:
            self._shared_memory(limit).enter(store, process)
        self._interrupter.watch(store, context, process)
        if process.killed_by is not None:
            return process.outcome_of_kill()
        instance, trap = Instance(), ctypes.c_size_t()
        error = api.wasmtime_instance_pre_instantiate(
            program.instance_pre, context, ctypes.byref(instance), ctypes.byref(trap)
        )
        if error or trap.value:
            return _ended(process, error, trap.value)
        running.guest = Guest(store, context, instance)
        memory = export_of(context, instance, b"memory", EXTERN_MEMORY)
        if memory is not None:
            _bind(process, fast, context, memory.of.memory)
            if self._budget is not None:
                self._budget.bind(process, context, memory.of.memory)
        entry = export_of(context, instance, b"_start", EXTERN_FUNC) or export_of(
            context, instance, b"_initialize", EXTERN_FUNC
        )
        if entry is None:
            return Trapped(
                "the program has no entry point: it exports neither _start nor _initialize"
            )
        error = api.wasmtime_func_call(
            context, ctypes.byref(entry.of.func), 0, 0, 0, 0, ctypes.byref(trap)
        )
        return _ended(process, error, trap.value)


def _limit_store(store: int, memory: int) -> None:
    """Limit a store: bytes of linear memory, and what no guest needs more of."""
    api.wasmtime_store_limiter(
        store,
        _NO_LIMIT if memory >= MEMORY_RESERVATION else memory,
        _TABLE_ELEMENTS_MAX,
        1,
        _TABLES_MAX,
        1,
    )


def _bind(process: Process, fast: FastProcess | None, context: int, memory: Memory) -> None:
    """Give the kernel the guest's memory. Its base never moves; its size is asked for when a check
    misses.
    """
    reference = ctypes.byref(memory)
    size_of = api.wasmtime_memory_data_size
    base = api.wasmtime_memory_data(context, reference)
    process.memory.bind(base, lambda: size_of(context, reference))
    if fast is not None:
        fast.bind(base, context, memory, process.environ)


def _finish(process: Process, outcome: Outcome) -> None:
    """End a process, and a child of vfork in which its thread was."""
    last = current.process
    while last is not process:
        parent = last.vfork_parent
        last.finish(_own(last, outcome))
        if parent is None:
            break
        last = parent
    process.finish(_own(process, outcome))


def _own(process: Process, outcome: Outcome) -> Outcome:
    """The outcome, with the process's own signal where another's ended them both."""
    if isinstance(outcome, Signaled) and process.killed_by is not None:
        return process.outcome_of_kill()
    return outcome


def _ended(process: Process, error: int, trap: int) -> Outcome:
    """Why the code has come to an end; frees the engine's error or trap."""
    recorded = current.outcome
    if error:
        message = summary(take_error(error))
    elif trap:
        message = take_trap(trap)
    else:
        return recorded or Exited(0)
    if recorded is not None:
        return recorded
    if process.killed_by is not None:
        return process.outcome_of_kill()
    return Trapped(message)


def _silent(line: str) -> None:
    """Nobody reads."""
