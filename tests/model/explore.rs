//! Looks at every state that a model can come to, breadth first: the first broken promise that is found is one with the
//! fewest steps.

use std::fmt::{self, Debug, Display};
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// More states than a model should need: each is to be searched in seconds.
const MOST_STATES: usize = 3_000_000;

/// A protocol in the small.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    /// What happens; its text completes the line of a counterexample.
    type Event: Clone + Display;

    fn starts(&self) -> Vec<Self::State>;

    /// Everything that can happen next, and what comes of it.
    fn events(&self, state: &Self::State) -> Vec<(Self::Event, Self::State)>;

    /// The promise that a state breaks.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
}

/// What came of a search.
pub struct Search {
    pub states: usize,
    /// The broken promise, and how it came to that.
    pub counterexample: Option<(&'static str, Trace)>,
}

/// The fewest steps to a state.
pub struct Trace {
    start: String,
    steps: Vec<String>,
    end: String,
}

/// A state, and the node and the step that it was first come to by.
type Node<M> = (<M as Model>::State, Option<(usize, <M as Model>::Event)>);

/// Looks at every state, or stops at the first that breaks a promise.
pub fn explore<M: Model>(model: &M) -> Search {
    let hasher = DefaultHashBuilder::default();
    let mut seen: HashTable<usize> = HashTable::new();
    let mut nodes: Vec<Node<M>> = Vec::new();
    let mut add = |nodes: &mut Vec<Node<M>>, state: M::State, from| {
        let hash = hasher.hash_one(&state);
        if seen.find(hash, |at| nodes[*at].0 == state).is_none() {
            nodes.push((state, from));
            seen.insert_unique(hash, nodes.len() - 1, |at| hasher.hash_one(&nodes[*at].0));
        }
    };
    for state in model.starts() {
        add(&mut nodes, state, None);
    }
    let mut at = 0;
    while at < nodes.len() {
        if let Some(promise) = model.broken(&nodes[at].0) {
            return Search { states: nodes.len(), counterexample: Some((promise, trace::<M>(&nodes, at))) };
        }
        assert!(nodes.len() < MOST_STATES, "the model has grown too large to be searched");
        for (step, state) in model.events(&nodes[at].0) {
            add(&mut nodes, state, Some((at, step)));
        }
        at += 1;
    }
    Search { states: nodes.len(), counterexample: None }
}

/// How it came to a state.
fn trace<M: Model>(nodes: &[Node<M>], mut at: usize) -> Trace {
    let end = format!("{:?}", nodes[at].0);
    let mut steps = Vec::new();
    while let (_, Some((from, step))) = &nodes[at] {
        steps.push(step.to_string());
        at = *from;
    }
    steps.reverse();
    Trace { start: format!("{:?}", nodes[at].0), steps, end }
}

impl Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    from {}", self.start)?;
        for (step, number) in self.steps.iter().zip(1..) {
            writeln!(f, "{number:2}. {step}")?;
        }
        writeln!(f, "    so that {}", self.end)
    }
}

/// Fails unless every state keeps every promise.
pub fn holds<M: Model>(model: &M) {
    let Search { states, counterexample } = explore(model);
    if let Some((promise, trace)) = counterexample {
        panic!("{promise}\n{trace}");
    }
    println!("{states} states keep every promise");
}

/// Fails unless this promise is the first to break, and by these steps.
pub fn breaks<M: Model>(model: &M, expected: &str, steps: &[&str]) {
    let Search { states, counterexample } = explore(model);
    let (promise, trace) = counterexample.unwrap_or_else(|| panic!("none of {states} states breaks a promise"));
    println!("after {states} states: {promise}\n{trace}");
    assert_eq!(promise, expected, "{trace}");
    assert_eq!(trace.steps, steps, "{trace}");
}
