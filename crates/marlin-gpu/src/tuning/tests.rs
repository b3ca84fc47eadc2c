//! Tunings that fit the table of shaders, and those that do not.

use super::*;

/// Every value that is not the default's.
fn other() -> Tuning {
    Tuning { matvec: [2, 4, 1, 2], split: [1, 1, 1, 2], workgroups: 7, gate_up: 2, down: 4 }
}

#[test]
fn json_holds_all_of_it() {
    for tuning in [Tuning::default(), other()] {
        tuning.check().unwrap();
        let text = serde_json::to_string(&tuning).unwrap();
        assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), tuning);
    }
}

#[test]
fn what_no_kernel_does_is_refused() {
    let default = Tuning::default();
    let wrong = [
        Tuning { matvec: [0, 1, 1, 1], ..default },
        Tuning { matvec: [1, 1, 1, 3], ..default },
        Tuning { split: [2, 0, 1, 1], ..default },
        Tuning { workgroups: 0, ..default },
        Tuning { workgroups: 1025, ..default },
        Tuning { gate_up: 4, ..default },
        Tuning { down: 3, ..default },
        Tuning { down: usize::MAX, ..default },
    ];
    let choices = ["matvec", "matvec", "split", "workgroups", "workgroups", "gate_up", "down", "down"];
    for (tuning, expected) in wrong.iter().zip(choices) {
        let Err(Error::Tuning { choice, .. }) = tuning.check() else { panic!("{tuning:?} passed") };
        assert_eq!(choice, expected);
    }
}

#[test]
fn classes_begin_where_they_say() {
    let classes = [1, 8191, 8192, 16_383, 16_384, 32_767, 32_768, usize::MAX].map(class);
    assert_eq!(classes, [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn fingerprints_are_those_of_fnv_1a() {
    // Published test vectors of FNV-1a of 64 bits.
    assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
}
