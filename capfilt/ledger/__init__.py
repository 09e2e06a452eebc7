"""What a run knows of itself: the plan, the commit records, who may write, how far it got."""
