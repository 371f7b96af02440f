"""Looks at photographs and labels before a training: what there is, what is odd, and whether splits leak."""
