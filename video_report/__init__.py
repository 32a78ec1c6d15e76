"""`auflow report`: one page about one video, for whoever wants to know whether its numbers can be used."""
