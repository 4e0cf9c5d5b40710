"""The agent as a proposer: a program that reads the results and edits the configs of the next batch."""
