#!/usr/bin/env python3
"""What llama-server holds on an NVIDIA card, by shape of the model, context and requests; and how fast it answers.

    tools/gpu-residency.py BIN_FOLDER OUT.jsonl HEAD.gguf...

BIN_FOLDER holds llama-server with its libraries. HEAD: the first bytes of a GGUF file up to its tensor data. The weights are made up (one byte repeated): neither memory
nor speed depend on their values. Larger Llama shapes are made from the first head.
The constants of estimates and forecasts on a card rest on it; `tests/fixtures/nvidia` has what it printed."""
import ctypes, json, os, pathlib, re, struct, subprocess, sys, tempfile, threading, time, urllib.request

SIZES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210)}
Q4_K, Q6_K, F32 = 12, 14, 0

class Reader:
    def __init__(self, data): self.data, self.at = data, 0
    def raw(self, n): out = self.data[self.at:self.at+n]; self.at += n; return out
    def get(self, code): size = struct.calcsize("<"+code); return struct.unpack("<"+code, self.raw(size))[0]
    def text(self): return self.raw(self.get("Q"))
    def value(self, kind):
        codes = {0:"B",1:"b",2:"H",3:"h",4:"I",5:"i",6:"f",7:"?",10:"Q",11:"q",12:"d"}
        if kind in codes: return self.get(codes[kind])
        if kind == 8: return self.text()
        inner, count = self.get("I"), self.get("Q")
        return (inner, [self.value(inner) for _ in range(count)])

def head(path):
    reader = Reader(path.read_bytes())
    assert reader.raw(4) == b"GGUF"
    reader.get("I"); tensors, pairs = reader.get("Q"), reader.get("Q")
    keys = []
    for _ in range(pairs):
        key, kind = reader.text(), reader.get("I")
        keys.append((key, kind, reader.value(kind)))
    listed = []
    for _ in range(tensors):
        name, n = reader.text(), reader.get("I")
        dims = [reader.get("Q") for _ in range(n)]
        listed.append((name, dims, reader.get("I"))); reader.get("Q")
    return keys, listed

def packed(kind, value):
    codes = {0:"B",1:"b",2:"H",3:"h",4:"I",5:"i",6:"f",7:"?",10:"Q",11:"q",12:"d"}
    if kind in codes: return struct.pack("<"+codes[kind], value)
    if kind == 8: return struct.pack("<Q", len(value)) + value
    inner, values = value
    return struct.pack("<IQ", inner, len(values)) + b"".join(packed(inner, one) for one in values)

def nbytes(dims, kind):
    count = 1
    for d in dims: count *= d
    block, size = SIZES[kind]
    return count // block * size

def write(path, keys, tensors):
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
    for key, kind, value in keys:
        out += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + packed(kind, value)
    offset = 0
    for name, dims, kind in tensors:
        out += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)
        offset += -(-nbytes(dims, kind) // 32) * 32
    out += b"\0" * (-len(out) % 32)
    with open(path, "wb") as file:
        file.write(out)
        chunk = b"\x11" * (1 << 24)
        left = offset
        while left > 0:
            left -= file.write(chunk[:min(left, len(chunk))])
    return offset

def llama(keys, width, layers, heads, kv_heads, ff, vocabulary_tensor):
    change = {b"llama.block_count": layers, b"llama.embedding_length": width, b"llama.feed_forward_length": ff,
              b"llama.attention.head_count": heads, b"llama.attention.head_count_kv": kv_heads,
              b"llama.rope.dimension_count": width // heads, b"llama.attention.key_length": width // heads,
              b"llama.attention.value_length": width // heads, b"llama.context_length": 131072}
    keys = [(k, t, change.get(k, v)) for k, t, v in keys]
    kv = width // heads * kv_heads
    tensors = [(b"token_embd.weight", [width, vocabulary_tensor], Q4_K), (b"output_norm.weight", [width], F32), (b"output.weight", [width, vocabulary_tensor], Q6_K)]
    for i in range(layers):
        block = b"blk.%d." % i
        for name, dims in [(b"attn_q", [width, width]), (b"attn_k", [width, kv]), (b"attn_v", [width, kv]), (b"attn_output", [width, width]), (b"ffn_gate", [width, ff]), (b"ffn_up", [width, ff]), (b"ffn_down", [ff, width])]:
            tensors.append((block + name + b".weight", dims, Q4_K))
        tensors += [(block + b"attn_norm.weight", [width], F32), (block + b"ffn_norm.weight", [width], F32)]
    return keys, tensors

class Nvml:
    def __init__(self):
        self.lib = ctypes.CDLL("libnvidia-ml.so.1"); self.lib.nvmlInit_v2()
        self.device = ctypes.c_void_p(); self.lib.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.device))
    def of(self, pid):
        class Info(ctypes.Structure): _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("gi", ctypes.c_uint), ("ci", ctypes.c_uint)]
        most = 0
        for call in ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v3"):
            count = ctypes.c_uint(64); infos = (Info * 64)()
            if getattr(self.lib, call)(self.device, ctypes.byref(count), infos) == 0:
                for info in infos[:count.value]:
                    if info.pid == pid and info.used < 1 << 60: most = max(most, info.used)
        return most

def post(port, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer: return json.load(answer)

def measure(bin_folder, model, context, parallel, nvml, port, log_path, rate):
    log = open(log_path, "wb")
    args = [str(bin_folder / "llama-server"), "-m", str(model), "--port", str(port), "--ctx-size", str(context * parallel), "--parallel", str(parallel), "--no-webui", "--log-verbosity", "4"]
    process = subprocess.Popen(args, stdout=log, stderr=log, env={**os.environ, "LD_LIBRARY_PATH": str(bin_folder) + ":" + os.environ.get("LD_LIBRARY_PATH", "")})
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read(); break
            except Exception:
                if process.poll() is not None or time.monotonic() > deadline: return {"error": log_path.read_text(errors="replace")[-600:]}
                time.sleep(0.1)
        loaded = nvml.of(process.pid)
        prompt = lambda i: [100 + (i * 7919 + j * 31) % 40000 for j in range(int(context * 2 / 3))]
        answers = []
        ask = lambda i: answers.append(post(port, {"prompt": prompt(i), "n_predict": 8, "ignore_eos": True, "cache_prompt": False}))
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(parallel)]
        [t.start() for t in threads]; [t.join() for t in threads]
        filled = nvml.of(process.pid)
        found = {"loaded": loaded, "filled": filled}
        if rate:
            runs = [post(port, {"prompt": [100 + i], "n_predict": 128, "ignore_eos": True, "cache_prompt": False})["timings"]["predicted_per_second"] for i in range(4)][1:]
            pre = [post(port, {"prompt": prompt(90 + i)[:512], "n_predict": 1, "ignore_eos": True, "cache_prompt": False})["timings"]["prompt_per_second"] for i in range(4)][1:]
            found |= {"decode": sorted(runs)[1], "prefill512": sorted(pre)[1]}
        return found
    finally:
        process.terminate(); process.wait(); log.close()
        text = log_path.read_text(errors="replace")
        lines = [l.strip() for l in text.splitlines() if re.search(r"buffer size|offloaded|using device", l)]
        measure.lines = lines

def main():
    bin_folder, out = pathlib.Path(sys.argv[1]), open(sys.argv[2], "w")
    work = pathlib.Path(tempfile.mkdtemp(prefix="gpu-residency-"))
    nvml, models = Nvml(), []
    first = None
    for path in map(pathlib.Path, sys.argv[3:]):
        keys, tensors = head(path); first = first or keys
        models.append((path.stem, keys, tensors))
    vocabulary = next(t[1][1] for t in models[0][2] if t[0] == b"token_embd.weight")
    for name, width, layers, heads, kv, ff in [("llama-1b", 2048, 16, 32, 8, 8192), ("llama-3b", 3072, 28, 24, 8, 8192), ("llama-8b", 4096, 32, 32, 8, 14336)]:
        models.append((name, *llama(first, width, layers, heads, kv, ff, vocabulary)))
    port = 18000
    for name, keys, tensors in models:
        file = work / f"{name}.gguf"
        size = write(file, keys, tensors)
        for context in (2048, 8192):
            for parallel in (1, 4):
                port += 1
                start = time.monotonic()
                found = measure(bin_folder, file, context, parallel, nvml, port, work / "log", context == 2048 and parallel == 1)
                row = {"model": name, "weights": size, "context": context, "parallel": parallel, **found, "seconds": round(time.monotonic() - start, 1), "log": measure.lines}
                print({k: v for k, v in row.items() if k != "log"}, flush=True)
                out.write(json.dumps(row) + "\n"); out.flush()
        file.unlink()

main()
