//! Random worlds around the planner: brokers that die, permits that are refused, given to others or lapse, a spec that is
//! edited and may be broken, an operator that forgets everything between any two steps.
//!
//! The brokers here have so many permits open at a time as they like. Every deletion of ours must be under one; never are more
//! brokers away under ours than the spec allows, nor of two racks; and what a person holds back stays. When nothing goes wrong
//! any more, every pod that may comes to run the spec's settings.

mod checks;
mod world;

use proptest::prelude::*;

use super::*;
use world::World;

/// What may happen. Brokers count from 0 and are taken modulo their number.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The operator looks, or takes the next step by what it saw.
    Operator,
    /// The operator dies; another one knows nothing.
    OperatorDies,
    Edit {
        broken: bool,
    },
    Pause(bool),
    TemplateIsTaken,
    Dies(usize),
    /// What runs comes up, unless its settings are broken; at the second time it is in every ISR.
    Recovers(usize),
    /// A pod that is being deleted ends, or one that is missing is made.
    Kubernetes(usize),
    DeletedByHand(usize),
    Asked(usize),
    /// The brokers refuse everything, or do not.
    Refuse(bool),
    /// Somebody else gets a permit; the eviction may come to nothing yet.
    Evict {
        broker: usize,
        happens: bool,
    },
    /// The open permit ends if it has not begun.
    Lapses,
    /// The brokers tell the operator nothing.
    Silent(bool),
    Leads(usize),
    /// Time passes, in seconds.
    Passes(u16),
    FromBroker(u32),
    NeedsApproval(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let broker = 0..3_usize;
    prop_oneof![
        8 => Just(Event::Operator),
        1 => Just(Event::OperatorDies),
        1 => any::<bool>().prop_map(|broken| Event::Edit { broken }),
        1 => any::<bool>().prop_map(Event::Pause),
        4 => Just(Event::TemplateIsTaken),
        1 => broker.clone().prop_map(Event::Dies),
        6 => broker.clone().prop_map(Event::Recovers),
        6 => broker.clone().prop_map(Event::Kubernetes),
        1 => broker.clone().prop_map(Event::DeletedByHand),
        1 => broker.clone().prop_map(Event::Asked),
        1 => any::<bool>().prop_map(Event::Refuse),
        1 => (broker.clone(), any::<bool>()).prop_map(|(broker, happens)| Event::Evict { broker, happens }),
        2 => Just(Event::Lapses),
        1 => any::<bool>().prop_map(Event::Silent),
        1 => broker.prop_map(Event::Leads),
        3 => (0..60_u16).prop_map(Event::Passes),
        1 => (0..=4_u32).prop_map(Event::FromBroker),
        1 => any::<bool>().prop_map(Event::NeedsApproval),
    ]
}

#[test]
fn each_pod_is_deleted_once_when_nothing_goes_wrong() {
    let mut world = World::new(5);
    world.settle();
    assert_eq!(world.deletions, 5);
}

#[test]
fn two_at_once_take_fewer_rounds_and_as_many_deletions() {
    let rounds = |max: u32| {
        let mut world = World::new(4);
        (world.options.max_unavailable, world.open_max) = (max, 4);
        (world.spec, world.taken) = (2, 2);
        let rounds = (1..20).find(|_| {
            while !world.operator() {}
            let deleting = world.away();
            assert!(deleting <= max as usize, "{deleting} are away");
            (0..4).for_each(|at| world.comes_back(at));
            world.deletions == 4
        });
        rounds.unwrap()
    };
    assert_eq!((rounds(1), rounds(2), rounds(4)), (4, 2, 1));
}

/// However the operator's steps and the edits fall: at most one pod is away at any moment.
#[test]
fn a_spec_edited_twice_mid_roll_still_restarts_one_at_a_time() {
    for (first, second) in (0..12).flat_map(|first| (first..12).map(move |second| (first, second))) {
        let mut world = World::new(3);
        world.open_max = 3;
        (world.spec, world.taken) = (2, 2);
        for step in 0..200 {
            if step == first || step == second {
                world.happen(Event::Edit { broken: false });
            }
            let round_is_over = world.operator();
            assert!(world.away() <= 1, "edited at {first} and {second}: {} are away at {step}", world.away());
            if !round_is_over {
                continue;
            }
            // Between two rounds each broker comes one step further, and Kubernetes takes the template.
            world.taken = world.spec;
            for at in 0..3 {
                world.kubernetes(at);
                world.recover(at);
            }
        }
        let last = world.observe();
        assert_eq!(next(&last), Step::Done, "edited at {first} and {second}: {last:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_more_than_allowed_and_all_of_them_in_the_end(
        brokers in 1..=3_usize,
        (max_unavailable, open_max) in (1..=2_u32, 1..=3_usize),
        min_ready_seconds in prop_oneof![Just(0), Just(30_u32)],
        racks in prop::collection::vec(prop::sample::select(vec!["", "a", "b"]), 3),
        events in prop::collection::vec(event(), 0..400),
    ) {
        let mut world = World::new(brokers);
        world.options = Options { max_unavailable, min_ready_seconds, ..world.options };
        world.open_max = open_max;
        let racks = (1..).map(BrokerId).zip(racks).filter(|(_, rack)| !rack.is_empty());
        world.racks = racks.map(|(broker, rack)| (broker, rack.to_owned())).collect();
        events.into_iter().for_each(|event| world.happen(event));
        world.settle();
        let last = world.observe();
        let from = world.options.from_broker;
        let left = last.pods.iter().filter(|pod| last.is_outdated(pod)).collect::<Vec<_>>();
        prop_assert!(last.pods.len() == brokers && left.iter().all(|pod| pod.broker.0 < from), "{last:?}");
        prop_assert_eq!(world.open.clone(), Vec::new());
        let end = if left.is_empty() { Step::Done } else { Step::Wait(Wait::HeldBack) };
        prop_assert_eq!(next(&last), end);
    }
}
