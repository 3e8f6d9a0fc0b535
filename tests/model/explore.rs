//! Looks at every state that a model can come to, breadth first: the first broken promise that is found is one with the
//! fewest steps.

use std::fmt::{Debug, Display};
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// More states than a model should need: each is to be searched in seconds.
const MOST_STATES: usize = 3_000_000;

/// A protocol in the small.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    /// What happens; its text completes the line of a counterexample.
    type Step: Clone + Display;

    fn starts(&self) -> Vec<Self::State>;

    /// Everything that can happen next, and what comes of it.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// The promise that a state breaks.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
}

/// What came of a search.
pub struct Search {
    pub states: usize,
    /// The broken promise, and how it came to that.
    pub counterexample: Option<(&'static str, String)>,
}

/// A state, and the node and the step that it was first come to by.
type Node<M> = (<M as Model>::State, Option<(usize, <M as Model>::Step)>);

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
            return Search { states: nodes.len(), counterexample: Some((promise, tell::<M>(&nodes, at))) };
        }
        assert!(nodes.len() < MOST_STATES, "the model has grown too large to be searched");
        for (step, state) in model.steps(&nodes[at].0) {
            add(&mut nodes, state, Some((at, step)));
        }
        at += 1;
    }
    Search { states: nodes.len(), counterexample: None }
}

/// How it came to a state, a line for each step.
fn tell<M: Model>(nodes: &[Node<M>], mut at: usize) -> String {
    let end = format!("   so that {:?}\n", nodes[at].0);
    let mut lines = Vec::new();
    while let (_, Some((from, step))) = &nodes[at] {
        lines.push(step.to_string());
        at = *from;
    }
    let start = format!("   from {:?}\n", nodes[at].0);
    let steps = lines.iter().rev().enumerate().map(|(number, line)| format!("{:2}. {line}\n", number + 1));
    [start].into_iter().chain(steps).chain([end]).collect()
}

/// Fails unless every state keeps every promise.
pub fn holds<M: Model>(model: &M) {
    let Search { states, counterexample } = explore(model);
    if let Some((promise, tale)) = counterexample {
        panic!("{promise}\n{tale}");
    }
    println!("{states} states");
}

/// Fails unless a state is found that breaks this promise; prints how it comes to that.
pub fn breaks<M: Model>(model: &M, expected: &str) {
    let Search { states, counterexample } = explore(model);
    let (promise, tale) = counterexample.unwrap_or_else(|| panic!("none of {states} states breaks a promise"));
    println!("{promise}\n{tale}");
    assert_eq!(promise, expected, "{tale}");
}
