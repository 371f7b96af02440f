"""Folders of photographs and labels as people have them: their files, the meaning of their names, tables and lists of
classes."""
