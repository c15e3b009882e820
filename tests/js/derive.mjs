// node derive.mjs <xpub> <path>...
//
// The addresses of unhardened descendants (paths like 0/5) as an independent BIP-32 (ethers) sees them:
// one JSON array on one line.
import { HDNodeWallet } from "ethers";

const [xpub, ...paths] = process.argv.slice(2);
if (xpub === undefined) {
  console.error("usage: node derive.mjs <xpub> <path>...");
  process.exit(2);
}

try {
  const root = HDNodeWallet.fromExtendedKey(xpub);
  console.log(JSON.stringify(paths.map((path) => root.derivePath(path).address)));
} catch (error) {
  console.error(`derive: ${error.shortMessage ?? error.message}`);
  process.exit(1);
}
