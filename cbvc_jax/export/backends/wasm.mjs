// The steps of an ONNX export in onnxruntime-web, for wasm.py beside it: requests come in at standard input, answers
// leave at standard output, each a length (uint32, little-endian), so many bytes of JSON, and the tensors' bytes.
//
//     node wasm.mjs FOLDER_WITH_NODE_MODULES KIND=FILE ...
import { readFileSync, readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [home, ...programs] = process.argv.slice(2);
const ort = createRequire(join(home, "node_modules", "x.js"))("onnxruntime-web");
ort.env.wasm.numThreads = 1; // More wait for each other busily, and make standard output fail now and then.
ort.env.logLevel = "error";

const sessions = {};
for (const program of programs) {
  const at = program.indexOf("=");
  const code = readFileSync(program.slice(at + 1));
  sessions[program.slice(0, at)] = await ort.InferenceSession.create(code, { executionProviders: ["wasm"] });
}

function read(size) {
  const data = new Uint8Array(size);
  for (let done = 0; done < size; ) {
    const count = readSync(0, data, done, size - done);
    if (count === 0) process.exit(0); // Whoever started us has gone.
    done += count;
  }
  return data;
}

function write(data) {
  for (let done = 0; done < data.length; ) done += writeSync(1, data, done);
}

function header(fields) {
  const text = Buffer.from(JSON.stringify(fields));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text]);
}

write(header({ ready: true }));
for (;;) {
  const { kind, tensors } = JSON.parse(Buffer.from(read(Buffer.from(read(4)).readUInt32LE())).toString());
  const feeds = {};
  for (const { name, type, dims } of tensors) {
    const bytes = read(4 * dims.reduce((a, b) => a * b, 1)).buffer;
    feeds[name] = new ort.Tensor(type, new (type === "int32" ? Int32Array : Float32Array)(bytes), dims);
  }
  const out = await sessions[kind].run(feeds);
  const found = ["x_hat", "y_hat"].map((name) => out[name]);
  write(header({ dims: found.map((tensor) => tensor.dims) }));
  for (const { data } of found) write(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
}
