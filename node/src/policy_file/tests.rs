use quorate_core::policy::Policy;
use serde_json::json;

use super::*;

mod device;
mod facts;

const GOOD: &str = r#"{"clients":["ed25519:0101010101010101010101010101010101010101010101010101010101010101"],
    "chains":[1],"recipients":["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
    "max_value":"0.5 ether","max_fee":"21000 gwei","data":"forbidden",
    "window":{"seconds":60,"max_total":"1 ether"}}"#;

const ACCOUNT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn when(condition: &Value) -> Result<PolicyBytes, PolicyFileError> {
    let kinds = ["transaction", "set-code", "message", "typed-data"];
    from_json(&json!({ "rules": [{ "name": "r", "payload": kinds, "when": condition }] }))
}

/// Conditions of every kind and shape.
fn conditions() -> Vec<Value> {
    let key = "01".repeat(32);
    vec![
        json!({ "client": [key] }),
        json!({ "approvals": { "at_least": 1, "of": [key, "02".repeat(32)] } }),
        json!({ "time": { "not_before": "2027-01-31T12:00:00Z" } }),
        json!({ "time": { "before": 9 } }),
        json!({ "schedule": { "days": ["mon", "sun"], "from": "22:00", "to": "06:30", "utc_offset": "-03:30" } }),
        json!({ "schedule": {} }),
        json!({ "chain": [1, 137] }),
        json!({ "to": [ACCOUNT] }),
        json!({ "creates_contract": true }),
        json!({ "value": { "at_most": "1 ether", "at_least": "1 gwei" } }),
        json!({ "fee": { "equals": 7 } }),
        json!({ "function": ["transfer(address,uint256)", "0x095ea7b3(address,uint256)"] }),
        json!({ "data": "none" }),
        json!({ "delegate": [ACCOUNT] }),
        json!({ "argument": { "function": "transfer(address,uint256)", "at": 0, "in": [ACCOUNT] } }),
        json!({ "argument": [
            { "function": "transfer(address,uint256)", "at": 1, "at_most": "12.5", "decimals": 6 },
            { "function": "f((int8,bool)[],bytes,string)", "at": [0, 2, 0], "at_least": -5 },
            { "function": "f((int8,bool)[],bytes,string)", "at": [0, 2, 1], "equals": false },
            { "function": "f((int8,bool)[],bytes,string)", "at": 1, "equals": "0x00ff" },
            { "function": "f((int8,bool)[],bytes,string)", "at": 2, "contains": "x", "ends_with": "y" },
        ] }),
        json!({ "type": "Permit", "domain": { "name": { "equals": "Coin" }, "version": { "equals": "1" },
            "chainId": { "equals": 1 }, "verifyingContract": { "in": [ACCOUNT] }, "salt": { "equals": "0x00" } } }),
        json!({ "field": { "at": "value.to", "as": "address", "in": [ACCOUNT] } }),
        json!({ "field": { "at": ["list", 3, "n"], "as": "int", "at_most": "-57896044618658097711785492504343953926634992332820282019728792003956564819968" } }),
        json!({ "message": { "pattern": "login to * at ?" } }),
        json!({ "all": [{ "chain": [1] }, { "any": [{ "data": "none" }, { "not": { "chain": [2] } }] }] }),
        json!({ "at_least": { "count": 2, "of": [{ "chain": [1] }, { "chain": [2] }, { "data": "none" }] } }),
    ]
}

#[test]
fn what_is_read_back_is_the_same_policy() {
    let mut seen = 0;
    for condition in conditions() {
        let bytes = when(&condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let policy = Policy::parse(bytes.as_slice()).unwrap();
        let json = to_json(&policy);
        assert_eq!(from_json(&json).as_ref(), Ok(&bytes), "{json}");
        assert!(explain(&policy).lines().count() >= 2);
        seen += 1;
    }
    assert_eq!(seen, 22);
}

#[test]
fn the_short_form_is_one_rule() {
    let bytes = parse(GOOD).unwrap();
    let long = json!({ "rules": [{
        "name": "transactions", "payload": ["transaction"],
        "when": { "client": ["01".repeat(32)], "chain": [1], "to": [ACCOUNT], "data": "none",
            "value": { "at_most": "0.5 ether" }, "fee": { "at_most": "21000 gwei" } },
        "limits": [{ "measure": "spend", "scope": "key", "max": "1 ether", "per": "1m" }],
    }] });
    assert_eq!(from_json(&long), Ok(bytes));
}

#[test]
fn mistakes_name_their_field() {
    let field = |text: String| parse(&text).unwrap_err().field;
    assert_eq!(field(GOOD.replace("0.5 ether", "0.5")), "max_value");
    assert_eq!(field(GOOD.replace("79C8", "79c8")), "recipients[0]");
    assert_eq!(field(GOOD.replace(":60,", ":0,")), "window.seconds");
    assert_eq!(field(GOOD.replace("\"data\"", "\"extra\":1,\"data\"")), "JSON");
    assert_eq!(field(GOOD.replace("[1]", "[]")), "chains");
    let field = |condition: Value| when(&condition).unwrap_err().field;
    assert_eq!(field(json!({})), "rules[0].when");
    assert_eq!(field(json!({ "chains": [1] })), "rules[0].when.chains");
    assert_eq!(field(json!({ "chain": [1, 1] })), "rules[0].when.chain");
    assert_eq!(
        field(json!({ "any": [{ "chain": [1] }, { "to": [7] }] })),
        "rules[0].when.any[1].to[0]"
    );
    assert_eq!(
        field(json!({ "time": { "not_before": "yesterday" } })),
        "rules[0].when.time.not_before"
    );
    assert_eq!(field(json!({ "schedule": { "from": "24:30" } })), "rules[0].when.schedule.from");
    assert_eq!(field(json!({ "value": {} })), "rules[0].when.value");
    assert_eq!(field(json!({ "value": { "at_most": "1 eth" } })), "rules[0].when.value.at_most");
    let argument = |argument: Value| field(json!({ "argument": argument }));
    let function = "transfer(address,uint256)";
    assert_eq!(
        argument(json!({ "function": "transfer", "at": 0 })),
        "rules[0].when.argument.function"
    );
    assert_eq!(
        argument(json!({ "function": function, "at": 2, "in": [] })),
        "rules[0].when.argument.at"
    );
    assert_eq!(
        argument(json!({ "function": function, "at": 0, "at_most": 1 })),
        "rules[0].when.argument.at_most"
    );
    assert_eq!(field(json!({ "field": { "at": "x", "as": "string" } })), "rules[0].when.field.as");
    assert_eq!(field(json!({ "domain": { "chain": {} } })), "rules[0].when.domain.chain");
    assert_eq!(field(json!({ "message": { "pattern": "" } })), "rules[0].when.message.pattern");
    assert_eq!(
        field(json!({ "approvals": { "at_least": 2, "of": ["01".repeat(32)] } })),
        "rules[0].when.approvals.at_least"
    );
}

#[test]
fn limits_are_read_and_their_mistakes_named() {
    let limit = |limit: Value| {
        let rule = json!({ "name": "r", "when": { "chain": [1] }, "limits": [limit] });
        let bytes = from_json(&json!({ "rules": [rule] }))?;
        let json = to_json(&Policy::parse(bytes.as_slice())?);
        assert_eq!(from_json(&json), Ok(bytes), "{json}");
        Ok::<_, PolicyFileError>(json["rules"][0]["limits"][0].clone())
    };
    let read = limit(json!({ "measure": "spend", "max": "2 ether", "per": "1h 30m" })).unwrap();
    assert_eq!(read["max"], "2000000000000000000");
    assert_eq!((&read["per"], &read["scope"]), (&"1h 30m".into(), &"rule".into()));
    let token = json!({ "contract": ACCOUNT, "function": "transfer(address,uint256)", "at": 1 });
    let tokens = json!({ "measure": token, "max": "100.5", "decimals": 6, "per": "30days", "strict": { "party": 3 } });
    assert_eq!(limit(tokens).unwrap()["max"], "100500000");
    let field = |value: Value| limit(value).unwrap_err().field;
    let at = |name: &str| format!("rules[0].limits[0].{name}");
    assert_eq!(field(json!({ "measure": "wei", "max": 1, "per": "1h" })), at("measure"));
    assert_eq!(field(json!({ "measure": "spend", "max": "x", "per": "1h" })), at("max"));
    assert_eq!(field(json!({ "measure": "spend", "max": 1, "per": "31days" })), at("per"));
    assert_eq!(field(json!({ "measure": "spend", "max": 1 })), at("per"));
    let strict = json!({ "measure": "spend", "max": 1, "per": "1h", "strict": { "party": 0 } });
    assert_eq!(field(strict), at("strict"));
    let no_number =
        json!({ "contract": ACCOUNT, "function": "transfer(address,uint256)", "at": 0 });
    assert_eq!(field(json!({ "measure": no_number, "max": 1, "per": "1h" })), at("measure.at"));
}

#[test]
fn sentences_say_what_the_policy_does() {
    let bytes = parse(GOOD).unwrap();
    let text = explain(&Policy::parse(bytes.as_slice()).unwrap());
    for part in [
        "Rule \"transactions\", for legacy transactions, ",
        "- all of these hold:",
        "- the recipient is 0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "- the value is at most 0.5 ether",
        "- the fee can be at most 21000 gwei",
        "any 1m, at most 1 ether of value and fees with this key",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

fn controlled(controllers: Value) -> Result<PolicyBytes, PolicyFileError> {
    from_json(&json!({
        "rules": [{ "name": "r", "when": { "chain": [1] } }], "controllers": controllers,
    }))
}

#[test]
fn controllers_are_read_and_their_mistakes_named() {
    let keys = ["02".repeat(32), "01".repeat(32), "03".repeat(32)];
    let bytes =
        controlled(json!({ "at_least": 2, "of": keys, "delay": "24h", "freeze_at_least": 1 }));
    let bytes = bytes.unwrap();
    let policy = Policy::parse(bytes.as_slice()).unwrap();
    let json = to_json(&policy);
    assert_eq!(json["controllers"]["delay"], "1day");
    assert_eq!(json["controllers"]["of"][0], format!("ed25519:{}", keys[1]));
    assert_eq!(from_json(&json).as_ref(), Ok(&bytes));
    let text = explain(&policy);
    for part in [
        "It belongs to 3 controllers: ed25519:01",
        "any 2 of them together may replace this policy, these controllers too: 1day after",
        "any one of them may freeze the key: at once",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // Left out: as many freeze as replace, at once.
    let plain = controlled(json!({ "at_least": 2, "of": keys })).unwrap();
    let plain = to_json(&Policy::parse(plain.as_slice()).unwrap());
    let controllers = &plain["controllers"];
    assert_eq!((&controllers["freeze_at_least"], &controllers["delay"]), (&2.into(), &"0s".into()));
    let many = (1..=17).map(|seed| format!("{seed:02x}").repeat(32)).collect::<Vec<_>>();
    for (wrong, field) in [
        (json!([]), "controllers"),
        (json!({ "of": keys }), "controllers.at_least"),
        (json!({ "at_least": 1 }), "controllers.of"),
        (json!({ "at_least": 0, "of": keys }), "controllers.at_least"),
        (json!({ "at_least": 4, "of": keys }), "controllers.at_least"),
        (json!({ "at_least": 1, "of": many }), "controllers.of"),
        (json!({ "at_least": 1, "of": ["x"] }), "controllers.of[0]"),
        (json!({ "at_least": 1, "of": [keys[0], keys[0]] }), "controllers.of"),
        (json!({ "at_least": 2, "of": keys, "freeze_at_least": 3 }), "controllers.freeze_at_least"),
        (json!({ "at_least": 2, "of": keys, "delay": "31days" }), "controllers.delay"),
        (json!({ "at_least": 2, "of": keys, "delay": 5 }), "controllers.delay"),
        (json!({ "at_least": 2, "of": keys, "wait": "1h" }), "controllers.wait"),
    ] {
        assert_eq!(controlled(wrong.clone()).unwrap_err().field, field, "{wrong}");
    }
}

#[test]
fn doubts_about_who_owns_the_policy() {
    let codes = |bytes: &PolicyBytes| {
        let policy = Policy::parse(bytes.as_slice()).unwrap();
        let doubts = lint(&policy).into_iter().filter(|doubt| doubt.field == "controllers");
        doubts.map(|doubt| doubt.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&parse(GOOD).unwrap()), ["fixed"]);
    let keys = ["01".repeat(32), "02".repeat(32)];
    let of = |at_least: u8, delay: &str| {
        codes(&controlled(json!({ "at_least": at_least, "of": keys, "delay": delay })).unwrap())
    };
    assert_eq!(of(2, "1h"), Vec::<&str>::new());
    assert_eq!(of(1, "0s"), ["one-controller", "no-delay"]);
    let mut short: Value = serde_json::from_str(GOOD).unwrap();
    short["controllers"] = json!({ "at_least": 2, "of": keys, "delay": "1h" });
    assert_eq!(codes(&from_json(&short).unwrap()), Vec::<&str>::new());
}
