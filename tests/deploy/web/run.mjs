// Runs the graphs of a folder in onnxruntime-web, and compares their outputs.
//
//     node run.mjs FOLDER
//
// FOLDER/cases.json is a list of {name, inputs, outputs}: tensors are {type, dims, data},
// by name. The graph is FOLDER/NAME.onnx.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web";

const BOUND = 1e-5; // of differences, absolute plus relative
const ARRAYS = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
};

function tensor({ type, dims, data }) {
  const values = type === "int64" ? data.map(BigInt) : data;
  return new ort.Tensor(type, ARRAYS[type].from(values), dims);
}

function difference(found, wanted) {
  if (found.dims.join() !== wanted.dims.join()) return Infinity;
  let largest = 0;
  wanted.data.forEach((value, at) => {
    const own = found.data[at];
    const numeric = typeof value === "number";
    const away = numeric
      ? Math.abs(Number(own) - value) / (1 + Math.abs(value))
      : Number(own !== value && Infinity);
    largest = Math.max(largest, Number.isNaN(away) ? Infinity : away);
  });
  return largest;
}

const folder = process.argv[2];
const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"));
let failures = 0;
let largest = 0;
for (const { name, inputs, outputs } of cases) {
  try {
    const graph = readFileSync(join(folder, `${name}.onnx`));
    const session = await ort.InferenceSession.create(graph);
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([key, value]) => [key, tensor(value)]),
    );
    const results = await session.run(feeds);
    for (const [key, wanted] of Object.entries(outputs)) {
      const away = difference(results[key], wanted);
      largest = Math.max(largest, away);
      if (!(away <= BOUND)) throw new Error(`${key} differs by ${away}`);
    }
  } catch (error) {
    failures += 1;
    console.error(`${name}: ${error.message ?? error}`);
  }
}
console.log(
  `onnxruntime-web: ${cases.length - failures} of ${cases.length} graphs agree, ` +
    `to ${largest.toExponential(1)}`,
);
process.exit(cases.length && !failures ? 0 : 1);
