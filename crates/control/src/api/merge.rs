//! Putting together the connections that a balancer finds part by part.

use super::client::{Client, ClientError};
use crate::operator::{FlowOrder, FlowStatus};

/// How often a search is begun again because the flow table has grown meanwhile, which it does once in a while.
const BEGINNINGS: usize = 5;

impl Client {
    /// Asks for connections, as `/v1/flows?...` names them, part by part until there are so many, or there are no more. If there
    /// is an order, which is the one that is asked for, these are the first ones in it.
    ///
    /// # Errors
    /// Nobody answers, or not as wanted.
    pub async fn flows(
        &self,
        question: &str,
        limit: usize,
        order: Option<FlowOrder>,
    ) -> Result<Vec<FlowStatus>, ClientError> {
        let mut left = BEGINNINGS;
        let (mut found, mut next) = (Vec::new(), Some(question.to_owned()));
        while let Some(part) = next {
            match self.get_part::<Vec<FlowStatus>>(&part).await {
                Ok((flows, after)) => {
                    found.extend(flows);
                    next = after;
                }
                // Connections are elsewhere in the larger table: some would be found twice, and some not at all.
                Err(ClientError::Gone(_)) if left > 0 => {
                    left -= 1;
                    found.clear();
                    next = Some(question.to_owned());
                }
                Err(error) => return Err(error),
            }
            match order {
                Some(order) if found.len() > limit.saturating_mul(2) => order.first(&mut found, limit),
                None if found.len() >= limit => break,
                _ => {}
            }
        }
        match order {
            Some(order) => order.first(&mut found, limit),
            None => found.truncate(limit),
        }
        Ok(found)
    }
}
