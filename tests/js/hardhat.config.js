// Only `hardhat node` is used: a chain that is stricter than anvil (it refuses a high s).
// CommonJS, because hardhat 2 reads its configuration so.
module.exports = {
  solidity: "0.8.28", // nothing is compiled; hardhat wants the field
  networks: { hardhat: { chainId: 31337 } },
};
