// Three worker threads that are sent one step after the other, some with a timer between, while an interval runs and memory is shared.
//     events.js STEPS      appends to worker-N.log, writes result.txt, exits with 21
"use strict";
const { createHash } = require("crypto");
const { openSync, writeFileSync, writeSync } = require("fs");
const { isMainThread, parentPort, Worker, workerData } = require("worker_threads");
const { deflate } = require("zlib");

const WORKERS = 3;

function hashChain(seed, length) {
  let digest = seed;
  for (let i = 0; i < length; i++) digest = createHash("sha256").update(digest).digest("hex");
  return digest;
}

function work() {
  const counters = new Int32Array(workerData.shared);
  parentPort.on("message", (step) => {
    Atomics.add(counters, workerData.number, 1);
    parentPort.postMessage({ step, digest: hashChain(`${workerData.number} ${step}`, 300) });
  });
}

// Resolves when the worker has done all steps and has ended.
function lead(number, shared, steps) {
  const log = openSync(`worker-${number}.log`, "a");
  const worker = new Worker(__filename, { workerData: { number, shared } });
  worker.postMessage(0);
  return new Promise((resolve) =>
    worker.on("message", ({ step, digest }) => {
      writeSync(log, `${step} ${digest}\n`);
      if (step + 1 == steps) resolve(worker.terminate());
      else if (step % 10 == number) setTimeout(() => worker.postMessage(step + 1), 2);
      else worker.postMessage(step + 1);
    }),
  );
}

async function main() {
  const shared = new SharedArrayBuffer(4 * WORKERS);
  let ticks = 0;
  const interval = setInterval(() => ticks++, 5);
  await Promise.all([...Array(WORKERS).keys()].map((number) => lead(number, shared, Number(process.argv[2]))));
  clearInterval(interval);
  // In a thread of the pool.
  const packed = await new Promise((resolve) => deflate(`${new Int32Array(shared)}`.repeat(99), (_, data) => resolve(data)));
  writeFileSync("result.txt", `${new Int32Array(shared)} ${packed.toString("hex")} ${ticks > 0}\n`);
  process.exitCode = 21;
}

if (isMainThread) main();
else work();
