"""Mutations of what reads and judges the calls of a peer's TensorFlow."""

from __future__ import annotations

from mutants.mutation import Of

_reader = Of("tensorflow/calls/http2.py", "tensorflow/calls/test_http2.py")
_headers = Of("tensorflow/calls/headers.py", "tensorflow/calls/test_headers.py")
_rules = Of("tensorflow/calls/rules.py", "tensorflow/calls/test_rules.py")
_requests = Of("tensorflow/calls/requests.py", "tensorflow/calls/test_rules.py")
_graphs = Of("tensorflow/calls/graphs.py", "tensorflow/calls/test_graphs.py")
_inspected = Of("tensorflow/calls/inspected.py", "tensorflow/calls/test_inspected.py")
_updates = Of("ratls/key_updates.py", "ratls/test_key_updates.py")

MUTATIONS = (
    _reader(
        "frames-of-any-type",
        "        if flags not in _FLAGS.get(kind, ()):\n",
        "        if flags not in _FLAGS.get(kind, (flags,)):\n",
        "frames that C-core reads and this reader does not hide a call",
    ),
    _reader(
        "trailers-and-padding",
        "    HeadersFrame.type: (_END_HEADERS,),",
        "    HeadersFrame.type: (_END_HEADERS, _END_HEADERS | 0x1),",
        "a call without a message comes through",
    ),
    _reader(
        "long-frames-without-data",
        "elif length > _MOST_FRAME_BYTES:",
        "elif length < 0:",
        "16 MiB of settings are kept",
    ),
    _headers(
        "headers-without-end",
        "self._decoder = Decoder(max_header_list_size=_MOST_HEADER_BYTES)",
        "self._decoder = Decoder(max_header_list_size=1 << 30)",
        "headers grow without limit when they are decoded",
    ),
    _reader(
        "a-stream-again",
        "frame.stream_id <= self._last_stream:",
        "frame.stream_id < 0:",
        "a second set of headers changes the method of a call",
    ),
    _reader(
        "calls-without-end",
        "        if len(self._calls) == MOST_CALLS:\n",
        "        if len(self._calls) < 0:\n",
        "calls that do not go on are kept without limit",
    ),
    _headers(
        "a-header-twice",
        "            if name in found or name not in _HEADERS:\n",
        "            if name not in _HEADERS:\n",
        "of two paths this reader takes one, and C-core the other",
    ),
    _headers(
        "any-value",
        "            if _HEADERS[name] not in {None, value}:\n",
        "            if _HEADERS[name] is value:\n",
        "compressed messages and other protocols come through",
    ),
    _reader(
        "compressed",
        "        if compressed:\n",
        "        if compressed > 255:\n",
        "a message that TensorFlow reads otherwise than it is judged",
    ),
    _reader(
        "two-messages",
        "        if len(call.octets) > call.length:\n",
        "        if len(call.octets) < call.length:\n",
        "a second message in one piece with the first is not judged",
    ),
    _reader(
        "a-second-message",
        "        if call.judged and data:\n",
        "        if call.judged and not data:\n",
        "a second message of a call is not judged",
    ),
    _reader(
        "passed-before-the-verdict",
        "            self._judge(frame)\n            yield frame\n",
        "            yield frame\n            self._judge(frame)\n",
        "TensorFlow gets the end of a message before its verdict",
    ),
    _reader(
        "held-without-end",
        "        if not self._budget.take(count) and count > 0:\n",
        "        if not self._budget.take(count) and count < 0:\n",
        "messages that do not end fill the memory",
    ),
    _reader(
        "given-up-and-held",
        "                    self._hold(-len(call.octets))\n",
        "                    pass\n",
        "who gives up calls is refused after a while",
    ),
    _reader(
        "too-long",
        "        if length > call.method.most_bytes:\n",
        "        if length < 0:\n",
        "a message of 4 GiB is waited for",
    ),
    _rules(
        "workers-among-themselves",
        'if (caller.role, own.role) == ("ps", "worker"):',
        'if own.role == "worker":',
        "a worker gets another worker's tensors",
    ),
    _rules(
        "anyone-asks-a-server",
        'if (caller.role, own.role) != ("worker", "ps"):',
        'if own.role != "ps":',
        "a chief or another server runs graphs on a server",
    ),
    _rules(
        "from-any-source",
        "not (own.has(found[1]) and caller.has(found[2])):",
        "not caller.has(found[2]):",
        "a server asks a worker for what others have sent through it",
    ),
    _rules(
        "to-any-target",
        "not (own.has(found[1]) and caller.has(found[2])):",
        "not own.has(found[1]):",
        "a server gets what a worker feeds to itself",
    ),
    _rules(
        "tasks-that-begin-alike",
        "return device.startswith(task) and _UNIT.fullmatch(device, len(task)) is not None",
        "return device.startswith(str(self))",
        "task 10's devices are task 1's",
    ),
    _requests(
        "fields-of-any-kind",
        "        empty.DiscardUnknownFields()\n",
        "",
        "a server fetches another worker's tensors, by RunGraph's keys",
    ),
    _requests(
        "fields-twice",
        "        if empty.ByteSize() == len(octets):\n",
        "        if empty.ByteSize() <= len(octets):\n",
        "of two keys this reader takes one, and TensorFlow perhaps the other",
    ),
    _requests(
        "any-master",
        "    if request.master_task != ends.caller_task:\n",
        "    if not request.master_task:\n",
        "a worker ends another one's sessions",
    ),
    _requests(
        "any-cluster",
        '    _check_only(ends, server, _SERVER, "server_def")\n',
        "",
        "a worker makes the server dial any address",
    ),
    _requests(
        "any-leader",
        'if coordination.service_leader not in {"", ends.caller_task}:',
        "if coordination.service_leader is None:",
        "a worker names another one as leader",
    ),
    _requests(
        "debuggers-and-compilers",
        '        if octets:\n            raise _refused(ends, f"no {name}"',
        '        if octets is None:\n            raise _refused(ends, f"no {name}"',
        "a worker has files written at the server",
    ),
    _requests(
        "any-configuration",
        '    _check_only(ends, config, _CONFIG, "config_proto")\n',
        "",
        "a worker has its graphs rewritten at the server",
    ),
    _requests(
        "the-session-of-all",
        "    if not called:  # all of those without one share theirs\n",
        "    if called is None:\n",
        "a worker runs another one's graphs, whose handles are numbers in order",
    ),
    _graphs(
        "any-operation",
        "    if unknown:\n",
        "    if unknown is None:\n",
        "a worker reads files at the server",
    ),
    _graphs(
        "functions",
        '        raise _refused(sender, "operations, and no functions", seen or "one without a name")\n',
        "        pass\n",
        "a function reads files at the server",
    ),
    _graphs(
        "devices-of-others",
        "            if not (own(device) or callers(device)):\n",
        "            if not device:\n",
        "a server fetches another worker's tensors",
    ),
    _graphs(
        "placeholders",
        '    if value.HasField("placeholder"):\n',
        '    if value.placeholder == " ":\n',
        "an attribute gets a value that nobody judged",
    ),
    _graphs(
        "marks",
        '        if name.startswith("_") and name not in _MARKS:\n',
        '        if name.startswith("__") and name not in _MARKS:\n',
        "a worker chooses compilers, kernels and memory of the server's",
    ),
    _graphs(
        "handles",
        "_HANDLES = frozenset({20, 21, 120, 121})",
        "_HANDLES = frozenset({20})",
        "a worker makes handles of the server's resources",
    ),
    _headers(
        "headers-by-an-old-table",
        "            self._known.clear()\n",
        "            pass\n",
        "a call is taken for another one, once the peer has changed its table of headers",
    ),
    _inspected(
        "refused-in-silence",
        "            self._refused(error)\n",
        "            pass\n",
        "nobody hears of attacks",
    ),
    _inspected(
        "no-keys-of-its-own",
        "        return Taken(near, taken.sending, secret, way_out)\n",
        "        return Taken(near, taken.sending, taken.receiving, way_out)\n",
        "the kernel passes on what the peer's keys opened, sealed with keys that TensorFlow's end does not have",
    ),
    _inspected(
        "connections-without-end",
        "        if list(self._open.values()).count(peer) >= MOST_CONNECTIONS:\n",
        "        if list(self._open.values()).count(peer) < 0:\n",
        "a peer's connections fill the memory",
    ),
    _inspected(
        "not-taken-and-not-counted",
        "                self._requests.keep(len(self._unsent))\n",
        "                self._requests.keep(0)\n",
        "a peer's connections fill the memory with what TensorFlow does not take",
    ),
    _inspected(
        "woken-too-early",
        "            self._loop.add_writer(self._peer, self._empty)\n",
        "            self._loop.call_soon(self._empty)\n",
        "TensorFlow tries to send again and again while the peer takes nothing",
    ),
    _inspected(
        "copies-in-children",
        "            still_there.close_copies()\n",
        "            pass\n",
        "a process that TensorFlow's program forks can write to a peer",
    ),
    _inspected(
        "behind-the-end",
        "        while not self.is_over and (left",
        "        while (left",
        "what follows the peer's end of its side counts",
    ),
    _reader(
        "frames-longer-than-messages",
        "            if (known := len(call.octets) + length) > _PREFIX_BYTES + call.method.most_bytes:\n",
        "            if (known := len(call.octets) + length) < 0:\n",
        "a frame is held back whose message can only be refused",
    ),
    _updates(
        "updates-without-data",
        "        if self._left < _DATA_RECORDS_PER_UPDATE:\n",
        "        if self._left < 0:\n",
        "a peer makes this node update keys without end",
    ),
    _updates(
        "an-update-that-is-not-asked-back",
        "        self.asked = self.asked or bool(inner[-2])\n",
        "",
        "a peer that asks for new keys gets none",
    ),
    _updates(
        "the-old-keys",
        "        self._use(_next(self._secret))\n        return None\n",
        "        return None\n",
        "records after an update cannot be read",
    ),
    _updates(
        "any-handshake",
        "        if inner[:-2] != _HEAD or inner[-2] > 1:\n",
        "        if inner[-2] > 1:\n",
        "another message of a handshake is taken for an update of keys",
    ),
)
