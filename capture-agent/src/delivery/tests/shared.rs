use super::*;

#[test]
fn sinks_that_share_batches_each_get_all_of_them() {
    let taken = [Taken::default(), Taken::default(), Taken::default()];
    // Room for all, however the threads take turns.
    let buffer = Buffer::Memory { capacity: 64 << 20, on_full: OnFull::DropNewest };
    let spec = |(name, taken): (&str, &Taken)| SinkSpec { buffer: buffer.clone(), ..spec(name, taken.sink()) };
    let fanout = fanout(["a", "b", "c"].into_iter().zip(&taken).map(spec));
    let origin = origin("a");
    for batch in 0..2_000 {
        hand_over(&fanout, lines(&origin, batch * 100..batch * 100 + 100), || false);
        if batch % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    fanout.finish();
    for (name, taken) in ["a", "b", "c"].into_iter().zip(&taken) {
        let totals = totals(&fanout, name);
        assert_balanced(&totals);
        assert_eq!(dropped(&totals), BTreeMap::new());
        assert_eq!(taken.numbers(), (0..200_000).collect::<Vec<_>>());
    }
}
