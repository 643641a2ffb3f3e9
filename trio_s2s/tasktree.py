"""Draws the tree of running tasks, for logs and failing tests."""
import trio
def task_tree(root: trio.lowlevel.Task | None = None) -> str:
    """Draw."""
    task = root or trio.lowlevel.current_root_task()
    assert task is not None
    out: list[str] = []
    def walk(t: trio.lowlevel.Task, depth: int) -> None:
        out.append("  " * depth + t.name)
        for n in t.child_nurseries:
            for c in sorted(n.child_tasks, key=lambda c: c.name):
                walk(c, depth + 1)
    walk(task, 0)
    return "\n".join(out)
