// Compiles a file of contracts/ with the real Solidity compiler; prints {"<contract>": "0x<code>", …}.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const file = process.argv[2];
const input = {
  language: "Solidity",
  sources: { [file]: { content: readFileSync(join(here, "contracts", file), "utf8") } },
  settings: {
    optimizer: { enabled: true },
    outputSelection: { [file]: { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(
  solc.compile(JSON.stringify(input), {
    import: (path) => ({ contents: readFileSync(join(here, "node_modules", path), "utf8") }),
  }),
);
const errors = (output.errors ?? []).filter((error) => error.severity === "error");
if (errors.length > 0) {
  console.error(errors.map((error) => error.formattedMessage).join("\n"));
  process.exit(1);
}
const codes = Object.entries(output.contracts[file]).map(([name, contract]) => [name, `0x${contract.evm.bytecode.object}`]);
console.log(JSON.stringify(Object.fromEntries(codes)));
