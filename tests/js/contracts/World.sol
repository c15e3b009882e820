// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.26;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";

contract Coin is ERC20("Coin", "COIN") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

contract Badge is ERC721("Badge", "BADGE") {
    function mint(address to, uint256 id) external {
        _mint(to, id);
    }

    function move(address to, uint256 id) external {
        _update(to, id, address(0));
    }
}

contract Parts is ERC1155("") {
    function mint(address to, uint256 id, uint256 amount) external {
        _mint(to, id, amount, "");
    }
}

// A view function that returns structs, as an exchange's or a vault's does.
contract Vault {
    struct Position {
        address owner;
        uint128 size;
        int64 profit;
        string name;
    }

    struct Book {
        bool open;
        Position[] positions;
    }

    bool private isOpen = true;
    mapping(uint256 => int64) private profits;

    function set(bool open, uint256 id, int64 profit) external {
        isOpen = open;
        profits[id] = profit;
    }

    function book(uint256 id) external view returns (Book memory found, uint256 at) {
        require(id < 1000, "no such book");
        found.open = isOpen;
        found.positions = new Position[](2);
        found.positions[0] = Position(address(0), 0, 0, "nobody's");
        found.positions[1] = Position(msg.sender, uint128(id) * 1000, profits[id], "a name of more than thirty-two bytes, so two words");
        at = block.number;
    }

    // More than a node takes.
    function flood() external pure returns (bytes memory) {
        return new bytes(9000);
    }
}
