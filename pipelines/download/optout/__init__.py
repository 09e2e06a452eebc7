"""What owners say about machines that read: robots.txt, X-Robots-Tag, NoML, TDMRep."""
