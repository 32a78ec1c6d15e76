"""Who is who: faces that are followed get the number of the person, through crossings, leaving and returning."""
